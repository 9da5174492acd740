"""Training images generated from label maps, on any torch device.

After Billot et al., "SynthSeg" (Medical Image Analysis 2023) and Hoopes et al., "SynthStrip"
(NeuroImage 2022): anatomy is real, everything that a scanner, a sequence or a protocol decides is
drawn at random, so that a network trained on it has no contrast or resolution to rely on.
"""
