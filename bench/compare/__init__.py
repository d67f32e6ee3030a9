"""What bench/versus_peers.py is made of: models, engines, the peers' quantizers, measuring, tables and plots."""
