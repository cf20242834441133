// SPDX-License-Identifier: Apache-2.0

package datapath

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// programAttributes are the fields of union bpf_attr for BPF_PROG_LOAD.
type programAttributes struct {
	Type, InstructionCount       uint32
	Instructions, License        uint64
	LogLevel, LogSize            uint32
	Log                          uint64
	KernelVersion, Flags         uint32
	Name                         [16]byte
	Interface, AttachType        uint32
	Types, FunctionSize          uint32
	Functions                    uint64
	FunctionCount, LineSize      uint32
	Lines                        uint64
	LineCount, AttachID          uint32
	AttachTo, RelocationCount    uint32
	Descriptors, Relocations     uint64
	RelocationSize, LogSizeAfter uint32
}

// Of include/uapi/linux/bpf.h.
const (
	programLoad    = 5  // BPF_PROG_LOAD
	functionSize   = 8  // struct bpf_func_info
	relocationSize = 16 // struct bpf_core_relo
)

// logSize is room for the log of a program that the kernel refuses.
const logSize = 1 << 20

// loadProgram has the kernel verify the program. The library does so for programs
// that it has linked itself, which takes longer than the kernel does.
func (o *object) loadProgram(maps map[string]*ebpf.Map, types *btf.Handle) (*ebpf.Program, error) {
	var memory runtime.Pinner
	defer memory.Unpin()
	pinned := func(b []byte) uint64 {
		if len(b) == 0 {
			return 0
		}
		memory.Pin(&b[0])
		return uint64(uintptr(unsafe.Pointer(&b[0])))
	}
	code, adapts := o.resolved(maps)
	a := programAttributes{
		Type:         uint32(ebpf.SchedCLS),
		Instructions: pinned(code), InstructionCount: uint32(len(code) / asm.InstructionSize),
		License:   pinned([]byte("Dual BSD/GPL\x00")),
		Types:     uint32(types.FD()),
		Functions: pinned(o.Functions), FunctionCount: uint32(len(o.Functions) / functionSize), FunctionSize: functionSize,
	}
	copy(a.Name[:len(a.Name)-1], o.Program)
	if adapts {
		a.Relocations, a.RelocationSize = pinned(o.Relocations), relocationSize
		a.RelocationCount = uint32(len(o.Relocations) / relocationSize)
	}
	fd, refused := a.load()
	if refused != nil { // again, to be told why
		log := make([]byte, logSize)
		a.LogLevel, a.Log, a.LogSize = 1, pinned(log), logSize
		var err error
		if fd, err = a.load(); err != nil {
			return nil, fmt.Errorf("load program: %w", withLog(refused, log))
		}
	}
	return ebpf.NewProgramFromFD(fd)
}

// load returns a file descriptor. A signal interrupts the verifier (EAGAIN).
func (a *programAttributes) load() (int, error) {
	for {
		fd, _, err := unix.Syscall(unix.SYS_BPF, programLoad, uintptr(unsafe.Pointer(a)), unsafe.Sizeof(*a))
		if err == 0 {
			return int(fd), nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			return -1, err
		}
	}
}

// withLog returns an error with what the verifier had to say.
func withLog(err error, log []byte) error {
	text, _, _ := bytes.Cut(log, []byte{0})
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(text) == 0 {
		lines = nil
	}
	return &ebpf.VerifierError{Cause: err, Log: lines}
}
