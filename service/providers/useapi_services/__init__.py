"""The services of useapi.net beside Runway: Kling, MiniMax, PixVerse, Google Flow and others."""
