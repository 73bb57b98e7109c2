"""Views: throughput beside other libraries, parity with the reference, and the frequencies of random choices."""
