"""All that surrounds the backend: servers, stand-ins, monitoring."""
