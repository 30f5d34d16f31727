"""QR codes as SVG, for the secrets of authenticator apps."""

import io


def qr_svg(text: str) -> str:
    """Return a QR code as a stand-alone SVG element."""
    import segno

    buffer = io.BytesIO()
    segno.make(text, error="m").save(buffer, kind="svg", scale=5, border=4, xmldecl=False, light="#fff")
    return buffer.getvalue().decode()
