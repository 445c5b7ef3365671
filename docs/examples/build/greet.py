print("built on board")
