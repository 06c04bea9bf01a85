"""The live origin: channels of real HLS, one ffmpeg each, with an API that starts and stops them."""
