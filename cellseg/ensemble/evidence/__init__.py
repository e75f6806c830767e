"""What members answer about images: asked once, averaged over views, cached, collected."""
