"""What tools/bench and tools/demo share: servers, load, measurements, tables and charts."""
