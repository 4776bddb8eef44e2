"""uvicorn with limits on heads, connections and open files."""
