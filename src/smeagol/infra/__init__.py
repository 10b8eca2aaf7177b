"""Where components go: the processes, addresses and rules that make a plan true."""
