import sys, tempfile, time
from pathlib import Path
from usance.testing.bench_rig import *
n=int(sys.argv[1]) if len(sys.argv)>1 else 6000
batch=int(sys.argv[2]) if len(sys.argv)>2 else 500
for rnd in range(int(sys.argv[3]) if len(sys.argv)>3 else 1):
  for profile in ("default","secure"):
    with tempfile.TemporaryDirectory() as d:
        rig, work = warmed(Path(d), 1, profile=profile)
        rig.owner.batch_max=batch
        if rig.vault: rig.preload(work.take(10000)); rig.work_off()
        else: rig.preload(work.take(10000)); rig.work_off()
        rig.preload(work.take(n)); s=rig.work_off()
        v=rig.verify()
        print(profile, round(s.per_s), round(s.owner_cpu_us,2), rig.vault and rig.vault.calls, flush=True)
        rig.close()
