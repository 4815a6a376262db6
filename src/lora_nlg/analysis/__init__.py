"""What a trained update is: its size, its shape, what it amplifies, what two of them share, and the dial alpha/r.

In order: `updates` (ΔW of every layer and part), `shape`, `amplification`, `similarity` (Hu et al. 2021, sections 7.2
and 7.3 and appendices G and H), `dial`; `results` puts a study together, `tables` and `plots` show it.
"""
