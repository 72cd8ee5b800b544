"""The PyTorch half of skxmc: networks and training. It never imports scikit-learn."""
