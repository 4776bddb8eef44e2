"""uvicorn with limits on request heads, connections and open files."""
