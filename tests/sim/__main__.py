import sys
import time
import traceback
from collections import Counter

from tests.sim.ghost import Violation
from tests.sim.shape import shape_of
from tests.sim.world import Sim

a, b = int(sys.argv[1]), int(sys.argv[2])
t = time.process_time()
bad = Counter()
ex = {}
steps = 0
for seed in range(a, b):
    sim = Sim(seed, shape_of(seed))
    try:
        sim.run()
    except Violation as e:
        k = str(e)[:48]
        bad[str(e)[:3]] += 1
        ex.setdefault(str(e)[:3], []).append((seed, str(e)[:200]))
        if b - a == 1:
            print(sim.shape)
            print("\n".join(sim.story))
            traceback.print_exc()
    steps += sim.scheduler.steps
dt = time.process_time() - t
print(b - a, "schedules", steps, "steps", round((b - a) / dt), "/s CPU")
print(bad)
for k, v in ex.items():
    for x in v[:8]:
        print(x)
