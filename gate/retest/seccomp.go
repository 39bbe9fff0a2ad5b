package retest

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Doors of the kernel that a test does not need. Namespaces keep most of what
// lies behind them shut as well; this is the second lock, and on the lower
// rungs the only one.
//
// A library would have saved the few lines below. The one that was looked at
// lets every call of a foreign architecture pass when its default is to allow.

// closedCalls are refused with EPERM, whatever their arguments.
func closedCalls() []uintptr {
	return []uintptr{
		unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, // key rings are not in any namespace
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, // would pass this filter by
		unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT,
		unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK,
		unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR,
		unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
		unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_VHANGUP,
	}
}

// sharedMemory is System V's, and message queues: without a namespace of its
// own a test would share them with the machine.
func sharedMemory() []uintptr {
	return []uintptr{
		unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_SEMCTL, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP,
		unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL, unix.SYS_MQ_OPEN,
	}
}

// otherProcesses are calls that change another process of the same user when
// the argument at the offset is not 0. Landlock does not know of them.
func otherProcesses() map[uintptr]uint32 {
	return map[uintptr]uint32{
		unix.SYS_PRLIMIT64: atArg0, unix.SYS_SETPRIORITY: atArg1, unix.SYS_IOPRIO_SET: atArg1,
		unix.SYS_SCHED_SETAFFINITY: atArg0, unix.SYS_SCHED_SETSCHEDULER: atArg0, unix.SYS_SCHED_SETPARAM: atArg0, unix.SYS_SCHED_SETATTR: atArg0,
		unix.SYS_MIGRATE_PAGES: atArg0, unix.SYS_MOVE_PAGES: atArg0,
	}
}

const (
	newNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
		unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

	x32Calls = 0x40000000 // from here on the calls of amd64 have another layout
)

// filter is a program for the kernel, in the making.
type filter []unix.SockFilter

func (f *filter) add(code int, k uint32, jt, jf uint8) {
	*f = append(*f, unix.SockFilter{Code: uint16(code), Jt: jt, Jf: jf, K: k})
}

func (f *filter) load(offset uint32) { f.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }
func (f *filter) refuse(e unix.Errno) {
	f.add(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ERRNO|uint32(e), 0, 0)
}
func (f *filter) allow() { f.add(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW, 0, 0) }

// when runs the next leaveOut instructions only where the comparison holds.
func (f *filter) when(compare int, k uint32, leaveOut uint8) {
	f.add(unix.BPF_JMP|compare|unix.BPF_K, k, 0, leaveOut)
}

// Offsets in struct seccomp_data; of arguments the lower half, on little-endian machines.
const (
	atCall = 0
	atArch = 4
	atArg0 = 16
	atArg1 = 24
)

// newFilter closes what no test needs. A fenced test is kept from more: there
// the filter stands in for namespaces. Without sockets, those are refused too.
func newFilter(fenced, sockets bool) (filter, error) {
	arch, ok := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("no system call filter is known for %s", runtime.GOARCH)
	}
	var f filter
	f.load(atArch)
	f.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, arch, 1, 0)
	f.refuse(unix.ENOSYS)
	f.load(atCall)
	f.when(unix.BPF_JGE, x32Calls, 1)
	f.refuse(unix.ENOSYS)
	f.when(unix.BPF_JEQ, unix.SYS_CLONE3, 1) // its arguments cannot be looked at; everybody knows how to do without
	f.refuse(unix.ENOSYS)
	closed := closedCalls()
	if fenced {
		closed = append(closed, sharedMemory()...)
		for call, argument := range otherProcesses() {
			f.when(unix.BPF_JEQ, uint32(call), 4)
			f.load(argument)
			f.when(unix.BPF_JEQ, 0, 1)
			f.allow()
			f.refuse(unix.EPERM)
		}
	}
	for _, call := range closed {
		f.when(unix.BPF_JEQ, uint32(call), 1)
		f.refuse(unix.EPERM)
	}
	for _, call := range []uint32{unix.SYS_CLONE, unix.SYS_UNSHARE} {
		f.when(unix.BPF_JEQ, call, 4)
		f.load(atArg0)
		f.when(unix.BPF_JSET, newNamespaces, 1)
		f.refuse(unix.EPERM)
		f.allow()
	}
	f.when(unix.BPF_JEQ, unix.SYS_IOCTL, 6)
	f.load(atArg1)
	for _, request := range []uint32{unix.TIOCSTI, unix.TIOCLINUX} { // put words into a terminal
		f.when(unix.BPF_JEQ, request, 1)
		f.refuse(unix.EPERM)
	}
	f.allow()
	f.when(unix.BPF_JEQ, unix.SYS_SOCKET, 255)
	mark := len(f)
	f.load(atArg0)
	if sockets {
		for _, family := range []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK} {
			f.when(unix.BPF_JEQ, family, 1)
			f.allow()
		}
	}
	f.refuse(unix.EACCES)
	f[mark-1].Jf = uint8(len(f) - mark)
	f.allow()
	return f, nil
}

// install puts the calling thread, and what it starts, under the filter. The
// thread must have given up new privileges.
func (f filter) install() error {
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return fmt.Errorf("filter system calls: %w", err)
	}
	return nil
}
