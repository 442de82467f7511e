"""What lies in the Hugging Face cache: whole models, half ones, broken ones. Reads headers only.

The layout is that of huggingface_hub: `hub/models--org--name/{blobs/<etag>, refs/main, snapshots/<commit>/file}`,
the files being links to the blobs, and since 1.22 `trees/<commit>.json`, the repository's own list of its files.
huggingface_hub's `scan_cache_dir` and `snapshot_download(local_files_only=True)` take for whole what has no last
shard, a cut one or a link to nowhere (huggingface_hub issue 4624); a model server then fails after a minute, or
minutes. So all of it is looked at here: the index against the files, and each shard's size against its header.
A few KB are read of a file, so that it is quick on a slow file system too.

The way of a model: `layout` finds its folder, `inspection` its snapshots, `snapshot` looks at one, with `weights` and
`safetensors` at the heavy part of it, `findings` gives the verdict, a `cached_model`. `pruning` tells what is left over.
"""

from __future__ import annotations
