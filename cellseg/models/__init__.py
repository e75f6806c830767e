"""Networks and their registration with OpenMMLab's registries."""
