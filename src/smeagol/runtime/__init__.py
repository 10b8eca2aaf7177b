"""Where the rooms are joined and tasks are started: everything above this line is data, everything here runs."""
