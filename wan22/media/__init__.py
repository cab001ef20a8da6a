"""Bytes on disk: pictures, clips and the recipe that travels inside them. It knows no network, tensor or device."""
