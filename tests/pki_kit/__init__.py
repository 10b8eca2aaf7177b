"""What tests of certificate authorities share."""
