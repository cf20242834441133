// SPDX-License-Identifier: Apache-2.0

package checkout

import (
	"errors"
	"fmt"
	"os/exec"
)

// ErrNoCommit says that the module lies in no git repository with a commit.
var ErrNoCommit = errors.New("no git repository, for the commit before this one")

// Previous puts the files of the commit before this one into an empty folder, of this one where
// the clone has no other: then it returns false.
func Previous(dir string) (isPrevious bool, err error) {
	root, err := Root()
	if err != nil {
		return false, err
	}
	has := func(revision string) bool {
		command := exec.Command("git", "rev-parse", "--verify", "--quiet", revision)
		command.Dir = root
		return command.Run() == nil
	}
	revision := "HEAD~1"
	isPrevious = has(revision)
	switch {
	case isPrevious:
	case has("HEAD"):
		revision = "HEAD"
	default:
		return false, ErrNoCommit
	}
	const script = `git archive --format=tar "$1" | tar -C "$2" -xf -`
	command := exec.Command("bash", "-euo", "pipefail", "-c", script, "_", revision, dir)
	command.Dir = root
	if out, err := command.CombinedOutput(); err != nil {
		return false, fmt.Errorf("files of %s: %w\n%s", revision, err, out)
	}
	return isPrevious, nil
}
