"""
Which words carried a prediction
================================

`explain` leaves out each word of a text in turn, and looks at what the label's log-odds
lose: what fell most was carried by that word.
"""

# %%
# Diseases of the blood.

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
# A notebook shows the text, marked blue where a word speaks for the label, and red
# where it speaks against. A label is called by its column, or by its name.

explanation = explain(model, text, "Iron deficiency anemia")
explanation

# %%
# The same in numbers: the words that count most, in the order of the text.

figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
explanation.plot(ax, n_words=12)

# %%
# Other labels of the same text are carried by other words.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for j, ax in zip(ids[0, [2, 3]].tolist(), axes, strict=True):
    explain(model, text, j).plot(ax, n_words=12)
