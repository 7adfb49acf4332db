"""What learns: labels, recipes, the scoreboard, guards, state and ONNX export. No Kafka, no HTTP."""
