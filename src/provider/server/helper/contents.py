# Comparing bytes ----------------------------------------------------------------------------------------

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n")


def differing_bytes(git, files, known, pointers):
    """Returns the paths whose bytes aren't those that git would put there.

    git compares what its filters make of a file: what they take out (line endings, a notebook's output)
    is in no commit, and no `git status` tells.
    """
    steady = [(path, mode, blob)
              for (mode, blob, stage), path in files if stage == b"0" and path not in known]

    def differs(one):
        path, mode, blob = one
        talk.alive()
        return raw_hash(os.path.join(git.folder, path), mode, len(blob)) not in (blob, None)

    with ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, MOST_HASHING))) as pool:
        odd = [one for one, is_odd in zip(steady, pool.map(differs, steady)) if is_odd]
    told = read_pointers(git, [blob for _, _, blob in odd])
    found = []
    for path, _, blob in odd:
        place = os.path.join(git.folder, path)
        if blob in told:
            pointers[told[blob][0]] = path
            same = (sha256_of(place), os.path.getsize(place)) == told[blob]
        else:
            code, out, _ = git.try_run("cat-file", "--filters", b"--path=" + path, blob.decode())
            same = code == 0 and raw_hash(place, b"", len(blob)) == bytes_hash(out, len(blob))
        if not same:
            found.append(path)
    return found


def new_hash(length):
    return hashlib.sha1() if length == 40 else hashlib.sha256()


def bytes_hash(data, length):
    """Returns the name that git gives to these bytes."""
    digest = new_hash(length)
    digest.update(b"blob %d\0" % len(data) + data)
    return digest.hexdigest().encode()


def raw_hash(place, mode, length):
    """Returns the name that git gives to the bytes that lie there; none where nothing does."""
    try:
        if mode == b"120000":
            return bytes_hash(os.readlink(place), length)
        descriptor = open_regular(place)
    except (OSError, Failed):
        return None if not os.path.lexists(place) else b"?"
    with open(descriptor, "rb") as file:
        digest = new_hash(length)
        digest.update(b"blob %d\0" % os.fstat(descriptor).st_size)
        for piece in iter(lambda: file.read(PIECE), b""):
            digest.update(piece)
    return digest.hexdigest().encode()


def sha256_of(place):
    digest = hashlib.sha256()
    with open(open_regular(place), "rb") as file:
        for piece in iter(lambda: file.read(PIECE), b""):
            digest.update(piece)
    return digest.hexdigest().encode()


def read_pointers(git, blobs):
    """Returns object and size of each blob that stands for an LFS object."""
    if not blobs:
        return {}
    sizes = git("cat-file", "--batch-check", feed=b"".join(blob + b"\n" for blob in blobs)).splitlines()
    told = [(line.split(b" ")[0], line.split(b" ")[-1]) for line in sizes]
    small = [name for name, size in told if size.isdigit() and int(size) < 1024]
    found = {}
    for blob in small:
        told = POINTER.match(git("cat-file", "blob", blob.decode()))
        if told:
            found[blob] = (told.group(1), int(told.group(2)))
    return found


def lfs_objects(storage, since, pointers):
    """Lists LFS objects that came after the clone: only their server could tell whether it has them."""
    found = []
    for folder, _, files in os.walk(os.path.join(storage, b"objects")):
        for name in sorted(files):
            try:
                info = os.lstat(os.path.join(folder, name))
            except OSError:
                continue
            if since is None or max(info.st_mtime_ns, info.st_ctime_ns) >= since:
                shown = pointers.get(name, b"object " + name[:12])
                found.append({"path": text(shown), "size": info.st_size})
    return sorted(found, key=lambda one: one["path"])


