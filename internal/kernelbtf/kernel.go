// SPDX-License-Identifier: Apache-2.0

package kernelbtf

import (
	"os"

	"golang.org/x/sys/unix"
)

// Running opens the BTF of the running kernel. Call the function that it returns
// when the file is no longer used.
func Running() (*File, func(), error) {
	file, err := os.Open("/sys/kernel/btf/vmlinux")
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	content, done, err := contentOf(file)
	if err != nil {
		return nil, nil, err
	}
	f, err := Parse(content)
	if err != nil {
		done()
		return nil, nil, err
	}
	return f, done, nil
}

// contentOf maps the file where the kernel can do that, since Linux 6.16, and
// reads it elsewhere.
func contentOf(file *os.File) ([]byte, func(), error) {
	info, err := file.Stat()
	if err != nil {
		return nil, nil, err
	}
	content, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	if err == nil {
		return content, func() { _ = unix.Munmap(content) }, nil
	}
	content, err = os.ReadFile(file.Name())
	return content, func() {}, err
}
