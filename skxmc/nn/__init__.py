"""The torch inside: nothing here knows scikit-learn."""
