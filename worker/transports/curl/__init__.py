"""HTTP/1.1 and HTTP/2 by libcurl, with many requests in flight from one thread."""
