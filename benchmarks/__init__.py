"""How fast the main job is, as ratios measured in one run: `./dev bench`.

Times of two machines, or of two evenings on one, cannot be compared; ratios can. So each shape runs
Backhaul and what bounds it in turn, pairs them round by round and prints the median ratio.
"""
