"""How fast a change reaches every proxy, and what that costs the control plane."""
