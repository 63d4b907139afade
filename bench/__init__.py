"""Measures Postroom beside stock aiosmtpd and GNU Mailman 3, in one interleaved run: `make bench`."""
