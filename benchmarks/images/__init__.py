"""Bits per dimension of images: the named flows beside a full Gaussian and a mixture, fit by fit."""
