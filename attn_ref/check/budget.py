"""What a case may take."""

#: seconds for one case
TIMEOUT = 300.0
