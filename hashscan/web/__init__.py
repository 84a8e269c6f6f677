"""Parts of all pages for people: frame, headers, forms, hosts, cookies."""
