"""Convert images to rows; each image goes through the network once."""
