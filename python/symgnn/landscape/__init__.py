"""The energy landscape: glasses from the melt, the saddles around their atoms, and labels."""
