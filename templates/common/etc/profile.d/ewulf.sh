# The kernels of this image.
PATH=/opt/ewulf/bin:$PATH
