"""Why a value changed: comparing, decomposing, and searching the labels that explain it."""
