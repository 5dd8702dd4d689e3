"""From images to rows, each image through the network once."""
