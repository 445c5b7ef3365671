#!/bin/sh
# The first process of a computer in QEMU (qemu.sh): devices, modules, then the
# orders that the test has put on the first disk as a tar archive. They say what
# is to be done; what they print on the second serial line is read by the test.
# On the second disk are the programs under test.
export PATH=/bin:/programs
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module.ko"; done </modules/order
mount -t ext4 -o ro,noload /dev/vdb /programs
mkdir /run/orders
tar -xf /dev/vda -C /run/orders
stty -F /dev/ttyS1 raw -echo
. /run/orders/orders.sh >/dev/ttyS1
poweroff -f
