"""The published networks in PyTorch, for comparison; names of weights are those of the published files."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def randomise(module, seed):
    """Random weights and statistics, so that no layer is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if name.endswith(("running_var", "bn.weight")) or ("BN" in name and name.endswith("weight")):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.is_floating_point() and value.dim() > 1:
            fan_in = value[0].numel()
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
        elif value.is_floating_point() and value.dim() == 1 and not name.endswith(("alpha", "_val", "p")):
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    for name, value in module.state_dict().items():
        if "bn" in name.lower() and name.endswith("weight"):
            value.add_(1)
    return module.eval()


def published(module):
    """Its weights as a checkpoint holds them."""
    return {name: value.numpy().copy() for name, value in module.state_dict().items()}


class WideBlock(nn.Module):
    def __init__(self):
        super().__init__()
        for number in (1, 2):
            setattr(self, f"conv{number}", nn.Conv3d(32, 32, 3, padding=1, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm3d(32))

    def forward(self, x):
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(x + self.bn2(self.conv2(inner)))


class Denoiser(nn.Module):
    """``gen`` of LPCNN and SpiNet-QSM."""

    def __init__(self, channels, blocks):
        super().__init__()
        self.gen = nn.Sequential(
            nn.Conv3d(channels, 32, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Sequential(*(WideBlock() for _ in range(blocks))),
            nn.Conv3d(32, 32, 1, bias=False),
            nn.ReLU(),
            nn.Conv3d(32, 32, 1, bias=False),
            nn.ReLU(),
            nn.Conv3d(32, channels, 1, bias=False),
        )


def filtered(images, response):
    """Multiplication in k-space on a grid that is longer at its far end; over the last three axes."""
    shape = response.shape
    lengths = images.shape[-3:]
    widths = [w for n, m in reversed(list(zip(lengths, shape, strict=True))) for w in (0, m - n)]
    spectrum = torch.fft.fftn(functional.pad(images, widths), dim=(-3, -2, -1)) * response
    x, y, z = lengths
    return torch.fft.ifftn(spectrum, dim=(-3, -2, -1)).real[..., :x, :y, :z]


class LPCNN(Denoiser):
    def __init__(self, blocks, std):
        super().__init__(1, blocks)
        self.std = std
        self.alpha = nn.Parameter(torch.tensor([2.5]))

    def forward(self, fields, kernels, mask):
        """In the published code the estimate is changed in place, so each orientation sees the last one's."""
        scans = list(zip(fields, kernels, strict=True))
        for number in range(3):
            if number == 0:
                chi = sum(self.alpha * filtered(field, kernel) for field, kernel in scans)
            else:
                for field, kernel in scans:
                    chi = chi + self.alpha * (filtered(field, kernel) - filtered(chi, kernel**2))
            chi = mask * self.std * self.gen((mask * chi / self.std)[None, None])[0, 0]
        return chi


class SpiNet(Denoiser):
    def __init__(self, blocks, std):
        super().__init__(2, blocks)
        self.std = std
        self.lambda_val = nn.Parameter(torch.tensor([0.05]))
        self.p = nn.Parameter(torch.tensor([1.6]))

    def forward(self, field, kernel, mask):
        chi = torch.stack([filtered(field, kernel), torch.zeros_like(field)])
        for _ in range(3):
            chi = chi * mask
            proposed = self.std * self.gen(chi[None] / self.std)[0]
            distance = torch.complex(*(chi - proposed)).abs()
            weight = self.lambda_val * distance ** (self.p - 2)
            right = torch.stack([filtered(field, kernel), torch.zeros_like(field)]) + weight * proposed
            chi = self.solve(right, kernel, weight) * mask
        return chi[0]

    def solve(self, right, kernel, weight):
        solution, residual = torch.zeros_like(right), right
        direction, energy = right, (right**2).sum()
        for _ in range(25):
            image = filtered(direction, kernel**2) + weight * direction
            length = energy / (direction * image).sum()
            solution, residual = solution + length * direction, residual - length * image
            before, energy = energy, (residual**2).sum()
            direction = residual + energy / before * direction
        return solution


def modl_weights(blocks, seed):
    """Random weights by the names that Keras gives them in a file; kernels are (i, j, k, in, out)."""
    random = np.random.default_rng(seed)
    found = {"my_layer_1/my_layer_1/step:0": np.array([[2.5]], np.float32)}
    sizes = [(3, 2, 32), *[(3, 32, 32)] * (2 * blocks), (1, 32, 32), (1, 32, 32), (1, 32, 2)]
    for number, (size, channels, out) in enumerate(sizes, 1):
        kernel = random.standard_normal((size, size, size, channels, out)) / np.sqrt(channels * size**3)
        found[f"model_1/conv3d_{number}/kernel:0"] = kernel.astype(np.float32)
    found[f"model_1/conv3d_{len(sizes)}/bias:0"] = 0.1 * random.standard_normal(2).astype(np.float32)
    for number in range(1, 2 * blocks + 1):
        name = f"model_1/batch_normalization_{number}"
        found |= {
            f"{name}/gamma:0": random.uniform(0.5, 1.5, 32).astype(np.float32),
            f"{name}/beta:0": 0.1 * random.standard_normal(32).astype(np.float32),
            f"{name}/moving_mean:0": 0.1 * random.standard_normal(32).astype(np.float32),
            f"{name}/moving_variance:0": random.uniform(0.01, 1.5, 32).astype(np.float32),
        }
    return found


def modl_qsm(weights, field, kernel, mask, mean, std):
    """Three steps, each with the same denoiser; batch normalisation adds 1e-3 to variances, as in Keras."""
    given = {name.removeprefix("model_1/"): torch.from_numpy(value) for name, value in weights.items()}
    count = sum(name.endswith("kernel:0") for name in given)

    def convolve(images, number):
        kernel = given[f"conv3d_{number}/kernel:0"].permute(4, 3, 0, 1, 2)
        return functional.conv3d(images, kernel, given.get(f"conv3d_{number}/bias:0"), padding="same")

    def normalise(images, number):
        names = ("moving_mean", "moving_variance", "gamma", "beta")
        values = [given[f"batch_normalization_{number}/{name}:0"] for name in names]
        return functional.batch_norm(images, *values, eps=1e-3)

    def denoise(images):
        images = functional.relu(convolve(images, 1))
        for number in range(2, count - 2, 2):
            inner = functional.relu(normalise(convolve(images, number), number - 1))
            images = functional.relu(images + normalise(convolve(inner, number + 1), number))
        for number in (count - 2, count - 1):
            images = functional.relu(convolve(images, number))
        return convolve(images, count)

    def adjoint(residual):
        return torch.stack([filtered(residual, kernel), residual])

    step = given["my_layer_1/my_layer_1/step:0"]
    mean, std = (v[:, None, None, None] for v in (mean, std))
    images = torch.zeros((2, *field.shape))
    for number in range(3):
        pulled = step * adjoint(field)
        if number:
            pulled = pulled + images - step * adjoint(filtered(images[0], kernel) + images[1])
        images = denoise((mask * (pulled - mean) / std)[None])[0] * mask * std + mean
    return images[0] * mask


class OctConv(nn.Module):
    def __init__(self, channels, out, first=False, last=False):
        super().__init__()
        self.first, self.last = first, last
        high_in = channels if first else channels // 2
        high_out = out if last else out // 2
        pairs = {"HH": (high_in, high_out)}
        if not last:
            pairs["HL"] = (high_in, out // 2)
        if not first:
            pairs["LH"] = (channels // 2, high_out)
            self.up = nn.ConvTranspose3d(high_out, high_out, 2, stride=2)
        if not (first or last):
            pairs["LL"] = (channels // 2, out // 2)
        for name, (a, b) in pairs.items():
            setattr(self, f"conv{name}", nn.Conv3d(a, b, 3, padding=1))
            setattr(self, f"BN_{name}", nn.BatchNorm3d(b))
        if last:
            self.FinalConv = nn.Conv3d(high_out, 1, 1)

    def forward(self, high, low):
        fine = self.BN_HH(self.convHH(high))
        if not self.first:
            fine = fine + self.BN_LH(self.up(self.convLH(low)))
        if self.last:
            return self.FinalConv(functional.relu(fine))
        coarse = self.BN_HL(self.convHL(functional.avg_pool3d(high, 2)))
        if not self.first:
            coarse = coarse + self.BN_LL(self.convLL(low))
        return functional.relu(fine), functional.relu(coarse)


class OctTwice(nn.Module):
    def __init__(self, name, channels, between, out, first=False):
        super().__init__()
        self.names = f"{name}1", f"{name}2"
        setattr(self, self.names[0], OctConv(channels, between, first=first))
        setattr(self, self.names[1], OctConv(between, out))

    def forward(self, high, low):
        for name in self.names:
            high, low = getattr(self, name)(high, low)
        return high, low


class OctUp(nn.Module):
    def __init__(self, channels):
        super().__init__()
        half = channels // 2
        self.up_HH = nn.ConvTranspose3d(half, half, 2, stride=2)
        self.up_LH = nn.ConvTranspose3d(half, half, 4, stride=4)
        self.up_LL = nn.ConvTranspose3d(half, half, 2, stride=2)
        self.up_HL = nn.Conv3d(half, half, 3, padding=1)
        self.BN_H, self.BN_L = nn.BatchNorm3d(half), nn.BatchNorm3d(half)

    def forward(self, high, low):
        fine = self.BN_H(self.up_HH(high) + self.up_LH(low))
        return functional.relu(fine), functional.relu(self.BN_L(self.up_LL(low) + self.up_HL(high)))


class OctDecode(OctTwice):
    def __init__(self, channels, out):
        super().__init__("DecodeConv", 2 * channels, channels, out)
        self.up = OctUp(channels)

    def forward(self, pair, skip):
        pair = self.up(*pair)
        return super().forward(*(torch.cat(both, dim=1) for both in zip(pair, skip, strict=True)))


class XQSM(nn.Module):
    def __init__(self, channels):
        super().__init__()
        c = channels
        self.InputOct = OctTwice("EncodeConv", 1, c, c, first=True)
        encoders = (OctTwice("EncodeConv", c, c, c), OctTwice("EncodeConv", c, 2 * c, 2 * c))
        self.EncodeConvs = nn.ModuleList(encoders)
        self.MidConv1 = OctTwice("MidConv", 2 * c, 4 * c, 2 * c)
        self.DecodeConvs = nn.ModuleList([OctDecode(2 * c, c), OctDecode(c, c)])
        self.FinalOct = OctConv(c, c, last=True)

    def forward(self, image):
        pair, kept = self.InputOct(image, None), []
        for encode in self.EncodeConvs:
            pair = encode(*pair)
            kept.append(pair)
            pair = tuple(functional.max_pool3d(v, 2) for v in pair)
        pair = self.MidConv1(*pair)
        for decode in self.DecodeConvs:
            pair = decode(pair, kept.pop())
        return image + self.FinalOct(*pair)


def qsmnet_weights(channels, size, seed):
    """As TensorFlow names and orders them."""
    random = np.random.default_rng(seed)
    weights = {}

    def layer(scope, kernel, bias, prefix):
        fan_in = np.prod(kernel[:3]) * (kernel[4] if prefix == "deconv_" else kernel[3])
        values = random.standard_normal(kernel) * np.sqrt(2 / fan_in)
        weights[f"Scope/{scope}/{prefix}weights"] = values.astype(np.float32)
        weights[f"Scope/{scope}/biases"] = 0.1 * random.standard_normal(bias).astype(np.float32)
        if prefix == "conv_":
            for name in ("beta", "mean_sh"):
                weights[f"Scope/{scope}/bn/{name}"] = 0.1 * random.standard_normal(bias).astype(np.float32)
            for name in ("gamma", "var_sh"):
                weights[f"Scope/{scope}/bn/{name}"] = (random.random(bias) + 0.5).astype(np.float32)

    widths = [channels * 2**level for level in range(5)]
    scopes = [(f"conv{n + 1}", a, b) for n, (a, b) in enumerate(zip([1, *widths], widths[:4], strict=False))]
    scopes += [("l_conv", widths[3], widths[4])]
    scopes += [(f"conv{n + 5}", 2 * widths[3 - n], widths[3 - n]) for n in range(4)]
    for scope, a, b in scopes:
        layer(f"{scope}1", (size,) * 3 + (a, b), b, "conv_")
        layer(f"{scope}2", (size,) * 3 + (b, b), b, "conv_")
    for n in range(4):
        layer(f"deconv{4 - n}", (2, 2, 2, widths[3 - n], widths[4 - n]), widths[3 - n], "deconv_")
    layer("out", (1, 1, 1, channels, 1), 1, "")
    return weights


def qsmnet(weights, image):
    """The network of those weights on (1, 1, x, y, z), in PyTorch's operations."""

    def get(name, *axes):
        value = torch.from_numpy(weights[f"Scope/{name}"])
        return value.permute(*axes) if axes else value

    def convolve(scope, v):
        v = functional.conv3d(
            v, get(f"{scope}/conv_weights", 4, 3, 0, 1, 2), get(f"{scope}/biases"), padding="same"
        )
        mean, var, gamma, beta = (get(f"{scope}/bn/{n}") for n in ("mean_sh", "var_sh", "gamma", "beta"))
        v = functional.batch_norm(v, mean, var, gamma, beta, eps=1e-3)
        return functional.leaky_relu(v, 0.1)

    kept = []
    for level in range(1, 5):
        image = convolve(f"conv{level}2", convolve(f"conv{level}1", image))
        kept.append(image)
        image = functional.max_pool3d(image, 2)
    image = convolve("l_conv2", convolve("l_conv1", image))
    for level in range(4):
        kernel = get(f"deconv{4 - level}/deconv_weights", 4, 3, 0, 1, 2)
        up = functional.conv_transpose3d(image, kernel, get(f"deconv{4 - level}/biases"), stride=2)
        image = torch.cat([kept.pop(), up], dim=1)
        image = convolve(f"conv{level + 5}2", convolve(f"conv{level + 5}1", image))
    return functional.conv3d(image, get("out/weights", 4, 3, 0, 1, 2), get("out/biases"))


OBJECT = "/.ATTRIBUTES/VARIABLE_VALUE"


def nextqsm_weights(channels, depths, strengths, seed):
    """As TensorFlow names them: background (first depth) and regulariser."""
    random = np.random.default_rng(seed)
    weights = {f"lambdas/{n}{OBJECT}": np.array(value, np.float32) for n, value in enumerate(strengths)}

    def layer(path, kernel, out):
        values = random.standard_normal((3, 3, 3, *kernel)) * np.sqrt(2 / (27 * kernel[0]))
        weights[f"{path}/parts/0/kernel{OBJECT}"] = values.astype(np.float32)
        weights[f"{path}/parts/0/bias{OBJECT}"] = 0.02 * random.standard_normal(out).astype(np.float32)

    for prefix, depth in zip(("", "nets/"), depths, strict=True):
        widths = [channels * 2**level for level in range(depth + 1)]
        for level, (a, b) in enumerate(zip([1, *widths], widths, strict=False)):
            layer(f"{prefix}encoder/{level}", (a, b), b)
        for place, width in enumerate(widths[-2::-1]):
            layer(f"{prefix}decoder/{place}", (width, (4 if place else 2) * width), width)
        layer(f"{prefix}last_conv", (2 * channels, 1), 1)
    return weights


def nextqsm(weights, total, mask, kernel):
    """The network of those weights on (x, y, z), for which it needs no padding, in PyTorch's operations."""

    def get(path, *axes):
        value = torch.from_numpy(weights[path + OBJECT])
        return value.permute(*axes) if axes else value

    def body(prefix, image):
        image, kept, level = image[None, None], [], 0
        while f"{prefix}encoder/{level}/parts/0/bias{OBJECT}" in weights:
            path = f"{prefix}encoder/{level}/parts/0"
            widths, stride = ((0, 1) * 3, 2) if level else ((1, 1) * 3, 1)
            kernel = get(f"{path}/kernel", 4, 3, 0, 1, 2)
            image = functional.conv3d(functional.pad(image, widths), kernel, get(f"{path}/bias"), stride)
            kept.append(image := functional.relu(image))
            level += 1
        kept.pop()
        for place in range(level - 1):
            path, skip = f"{prefix}decoder/{place}/parts/0", kept.pop()
            kernel = get(f"{path}/kernel", 4, 3, 0, 1, 2)
            image = functional.conv_transpose3d(image, kernel, get(f"{path}/bias"), stride=2)
            image = torch.cat([functional.relu(image[..., :-1, :-1, :-1]), skip], dim=1)
        path = f"{prefix}last_conv/parts/0"
        kernel = get(f"{path}/kernel", 4, 3, 0, 1, 2)
        return functional.conv3d(image, kernel, get(f"{path}/bias"), padding=1)[0, 0]

    local = (body("", total * mask) * mask).detach()
    chi = local.clone()
    for step in range(sum(name.startswith("lambdas") for name in weights)):
        chi.requires_grad_()
        misfit = torch.linalg.norm(local - filtered(chi, kernel)) / torch.linalg.norm(local)
        energy = get(f"lambdas/{step}") * 100 * misfit + body("nets/", chi).abs().mean()
        (slope,) = torch.autograd.grad(energy, chi)
        chi = ((chi - slope) * mask).detach()
    return local, chi


def _twice(channels, between, out):
    layers = []
    for a, b in ((channels, between), (between, out)):
        layers += [nn.Conv3d(a, b, 3, padding=1), nn.BatchNorm3d(b), nn.ReLU()]
    return nn.Sequential(*layers)


class Named(nn.Module):
    """A module that holds another by the name that published files use."""

    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


class IQSM(nn.Module):
    def __init__(self, channels, depth, filters=15):
        super().__init__()
        widths = [channels * 2**level for level in range(depth)]
        self.LoT_Layer = nn.Module()
        for name, count in (("conv_x", 1), *([("conv_y", filters)] if filters else [])):
            setattr(self.LoT_Layer, name, nn.Parameter(torch.zeros(count, 1, 3, 3, 3)))
        net = self.Unet = nn.Module()
        net.EncodeConvs = nn.ModuleList(
            [Named(EncodeConv=_twice(a, b, b)) for a, b in zip([1 + filters, *widths], widths, strict=False)]
        )
        net.MidConv1 = Named(MidConv=_twice(widths[-1], 2 * widths[-1], widths[-1]))
        net.DecodeConvs = nn.ModuleList()
        for width, out in zip(widths[::-1], [*widths[-2::-1], widths[0]], strict=True):
            up = nn.Sequential(
                nn.ConvTranspose3d(width, width, 2, stride=2), nn.BatchNorm3d(width), nn.ReLU()
            )
            net.DecodeConvs.append(Named(up=up, DecodeConv=_twice(2 * width, width, out)))
        net.FinalConv = nn.Conv3d(widths[0], 1, 1)

    def forward(self, phase, mask, echo_time, field_strength, *direction):
        """On (1, 1, x, y, z)."""

        def wrap_free(kernel):
            real, imaginary = (functional.conv3d(f(phase), kernel, padding=1) for f in (torch.cos, torch.sin))
            found = imaginary * torch.cos(phase) - real * torch.sin(phase)
            inner = torch.zeros_like(found)
            inner[..., 1:-1, 1:-1, 1:-1] = found[..., 1:-1, 1:-1, 1:-1]
            return inner * mask / (field_strength * echo_time) * 0.06

        first = wrap_free(self.LoT_Layer.conv_x)
        learned = [wrap_free(self.LoT_Layer.conv_y)] if hasattr(self.LoT_Layer, "conv_y") else []
        images = torch.cat([first, *learned], dim=1)
        return (self.body(images, *direction) + first) / 4

    def body(self, images):
        """On (1, 16, x, y, z)."""
        kept = []
        for level in self.Unet.EncodeConvs:
            images = level.EncodeConv(images)
            kept.append(images)
            images = functional.max_pool3d(images, 2)
        images = self.Unet.MidConv1.MidConv(images)
        for level in self.Unet.DecodeConvs:
            images = level.DecodeConv(torch.cat([level.up(images), kept.pop()], dim=1))
        return self.Unet.FinalConv(images)


class Oriented(nn.Module):
    """A layer of iQSM+, by its published names."""

    def __init__(self, channels, out):
        super().__init__()
        self.embed_hwd, self.embed_c = (
            Named(embd=nn.Sequential(nn.SiLU(), nn.Linear(5, 10), nn.SiLU(), nn.Linear(10, count)))
            for count in (27, 2 * out)
        )
        self.EncodeConv = nn.Sequential(nn.Conv3d(channels, out, 3, padding=1))
        self.BN_RELU = nn.Sequential(nn.BatchNorm3d(out), nn.ReLU())

    def forward(self, images, code):
        """On one scan."""
        kernel = self.embed_hwd.embd(code).reshape(1, 1, 3, 3, 3)
        found = functional.conv3d(images.sum(1, keepdim=True), kernel, padding=1)
        scale, shift = self.embed_c.embd(code).reshape(2, -1, 1, 1, 1)
        return self.BN_RELU(self.EncodeConv(images) + scale * found + shift)


class IQSMPlus(IQSM):
    def __init__(self, channels, depth):
        super().__init__(channels, depth)
        widths = [channels * 2**level for level in range(depth)]

        def twice(a, b, c):
            return {"embd_layer1": Oriented(a, b), "embd_layer2": Oriented(b, c)}

        ups = [level.up for level in self.Unet.DecodeConvs]
        net, leave = nn.Module(), self.Unet.FinalConv
        net.Z_embed = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 5))
        net.ini_embd_layer = Oriented(16, 16)
        net.EncodeConvs = nn.ModuleList(
            [Named(**twice(a, b, b)) for a, b in zip([16, *widths], widths, strict=False)]
        )
        net.MidConv1 = Named(**twice(widths[-1], 2 * widths[-1], widths[-1]))
        ends = zip(ups, widths[::-1], [*widths[-2::-1], widths[0]], strict=True)
        net.DecodeConvs = nn.ModuleList([Named(up=up, **twice(2 * w, w, out)) for up, w, out in ends])
        net.FinalConv = leave
        self.Unet = net

    def body(self, images, direction):
        """On (1, 16, x, y, z)."""
        net, kept = self.Unet, []
        code = net.Z_embed(direction)

        def through(level, images):
            return level.embd_layer2(level.embd_layer1(images, code), code)

        images = net.ini_embd_layer(images, code)
        for level in net.EncodeConvs:
            kept.append(through(level, images))
            images = functional.max_pool3d(kept[-1], 2)
        images = through(net.MidConv1, images)
        for level in net.DecodeConvs:
            images = through(level, torch.cat([level.up(images), kept.pop()], dim=1))
        return net.FinalConv(images)


def auto_qsm_weights(channels, depth, seed):
    """By the names of Keras, in the order of the published layers."""
    random = np.random.default_rng(seed)
    widths = [channels * 2**level for level in range(depth + 1)]
    pairs = [(a, b) for level, b in enumerate(widths) for a in ((widths[level - 1] if level else 1), b)]
    pairs += [(a, b) for b in reversed(widths[:-1]) for a in (2 * b, b)]
    weights = {}

    def layer(kind, number, shape, out, gain):
        name = f"{kind}_{number}/{kind}_{number}"
        weights[f"{name}/kernel:0"] = (gain * random.standard_normal(shape)).astype(np.float32)
        weights[f"{name}/bias:0"] = (0.1 * random.standard_normal(out)).astype(np.float32)

    for number, (a, b) in enumerate(pairs):
        layer("conv3d", number + 1, (3, 3, 3, a, b), b, (2 / (27 * a)) ** 0.5)
    layer("conv3d", len(pairs) + 1, (1, 1, 1, channels, 1), 1, channels**-0.5)
    for number, b in enumerate(reversed(widths[:-1])):
        layer("conv3d_transpose", number + 1, (2, 2, 2, b, 2 * b), b, b**-0.5)
    return weights


def auto_qsm(weights, image, *, patch, middle, overlap):
    """The published patches, one after another: each fades into what is there already."""
    depth = sum("transpose" in name for name in weights) // 2

    def layer(kind, number):
        name = f"{kind}_{number}/{kind}_{number}"
        return (torch.from_numpy(weights[f"{name}/{part}:0"]) for part in ("kernel", "bias"))

    def convolve(images, number):
        kernel, bias = layer("conv3d", number)
        return functional.conv3d(images, kernel.permute(4, 3, 0, 1, 2), bias, padding=kernel.shape[0] // 2)

    def network(images):
        skips, number = [], 1
        for level in range(depth + 1):
            images = functional.max_pool3d(images, 2) if level else images
            for _ in range(2):
                images, number = torch.relu(convolve(images, number)), number + 1
            skips.append(images)
        for level in range(depth):
            kernel, bias = layer("conv3d_transpose", level + 1)
            images = functional.conv_transpose3d(images, kernel.permute(4, 3, 0, 1, 2), bias, stride=2)
            images = torch.cat([images, skips[depth - 1 - level]], 1)
            for _ in range(2):
                images, number = torch.relu(convolve(images, number)), number + 1
        return torch.tanh(convolve(images, number))

    margin, stride = (patch - middle) // 2, middle - overlap
    counts = [1 + max(int(np.ceil((n - middle) / stride)), 0) for n in image.shape]
    lengths = [(count - 1) * stride + middle for count in counts]
    around = [(margin, margin + length - n) for n, length in zip(image.shape, lengths, strict=True)]
    wide = np.pad(image, around, mode="edge")
    out, patches = np.zeros(lengths, np.float32), {}
    fade = 1 - np.arange(overlap) / (overlap - 1)
    for k, j, i in np.ndindex(counts[2], counts[1], counts[0]):
        start = stride * i, stride * j, stride * k
        seen = wide[tuple(slice(s, s + patch) for s in start)]
        with torch.no_grad():
            found = network(torch.from_numpy(seen)[None, None])[0, 0].numpy()
        found = np.array(found[(slice(margin, margin + middle),) * 3])
        for axis, before in enumerate([(i - 1, j, k), (i, j - 1, k), (i, j, k - 1)]):
            if min(before) >= 0:
                ours, theirs = np.moveaxis(found, axis, 0), np.moveaxis(patches[before], axis, 0)
                w = fade[:, None, None]
                ours[:overlap] = w * theirs[-overlap:] + (1 - w) * ours[:overlap]
        patches[i, j, k] = found
        out[tuple(slice(s, s + middle) for s in start)] = found
    return out[tuple(slice(n) for n in image.shape)]
