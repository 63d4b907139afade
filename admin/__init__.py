"""What bin/postroom does, one module per noun."""
