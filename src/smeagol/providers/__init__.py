"""The providers that come with Smeagol, one package each. Others are found by entry point `smeagol.providers`."""
