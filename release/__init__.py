"""`make release`: builds two wheels and a Node package into dist/ and checks them."""
