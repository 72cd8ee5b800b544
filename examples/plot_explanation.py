"""
Which words a prediction rests on
=================================

`~skxmc.inspection.explain` leaves out each word of a text in turn, and measures by how
much the log-odds of a label fall. The word whose absence lowers
them most supports the label most.
"""

# %%
# The data are phrases and codes of diseases of the blood.

import matplotlib.pyplot as plt

from skxmc import GRankClassifier
from skxmc.datasets import load_icd10cm
from skxmc.inspection import explain

data = load_icd10cm(chapters=3)
model = GRankClassifier(
    label_texts=data.label_names, max_length=24, max_epochs=6, random_state=0
)
model.fit(data.texts_train, data.Y_train)

text = "the patient was weak and pale, anemia from a lack of iron, for years untreated"
ids, probabilities = model.predict_topk([text], k=5)
for j, probability in zip(ids[0], probabilities[0], strict=True):
    print(f"{probability:.2f} {data.label_codes[j]:8} {data.label_names[j]}")

# %%
# In a notebook, the text is shown in colour: blue for words that support the label, red
# for words against it. The label is given by its name or by its column.

explanation = explain(model, text, "Iron deficiency anemia")
explanation

# %%
# The same as a plot, with the words that matter most, in the order of the text:

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
explanation.plot(ax, n_words=12)

# %%
# Predictions of other labels for the same text rest on other words.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for j, ax in zip(ids[0, [2, 3]].tolist(), axes, strict=True):
    explain(model, text, j).plot(ax, n_words=12)
