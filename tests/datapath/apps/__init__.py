"""The program that test Pods run: servers that write down what reaches them, and clients that tests steer."""
