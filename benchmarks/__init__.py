"""What this project costs beside what it is compared with: ratios from one run. ``python -m benchmarks`` runs all."""
