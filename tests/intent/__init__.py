"""From objects to intent: every rule of the specification that the resolution keeps."""
