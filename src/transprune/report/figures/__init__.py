"""The figures, one small file each: data in, a `Picture` out."""
